"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const SHOWN = 12;

  const drawCharts = () => {
    const charts = read("charts");
    // ast: expressions are interpreted, as the page's policy lets no text become code.
    const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true };
    const drawn = [...document.querySelectorAll("[data-chart]")].map((place) =>
      vegaEmbed(place, charts[place.dataset.chart], options)
    );
    return Promise.all(drawn);
  };

  const element = (name, text) => {
    const made = document.createElement(name);
    made.textContent = text; // titles are untrusted: always text, never markup
    return made;
  };

  const withMark = (name, text, query) => {
    const at = query ? text.toLowerCase().indexOf(query) : -1;
    if (at < 0) return element(name, text);
    const made = element(name, text.slice(0, at));
    made.append(element("mark", text.slice(at, at + query.length)), text.slice(at + query.length));
    return made;
  };

  const showUser = ([user, source, items], titles, query) => {
    const card = document.createElement("article");
    const list = document.createElement("ol");
    list.append(...items.map((item) => withMark("li", titles[item], query)));
    const heading = element("h3", "User ");
    heading.append(user);
    card.append(heading);
    if (source !== "model") card.append(element("p", `by ${source}`));
    card.append(list);
    return card;
  };

  const setUpSearch = () => {
    const { users, titles } = read("sample");
    const lowered = titles.map((title) => title.toLowerCase());
    const search = document.getElementById("search");
    const results = document.getElementById("results");
    const find = (query) => {
      const byId = users.filter(([user]) => user.toLowerCase().startsWith(query));
      const known = new Set(byId);
      const byTitle = users.filter(
        (user) => !known.has(user) && user[2].some((item) => lowered[item].includes(query))
      );
      return query ? [...byId, ...byTitle] : users;
    };
    const show = () => {
      const query = search.value.trim().toLowerCase();
      const found = find(query);
      const shown = query ? SHOWN : 3;
      results.replaceChildren(
        ...found.slice(0, shown).map((user) => showUser(user, titles, query))
      );
      const words = found.length === 1 ? "1 list" : `${found.length.toLocaleString("en")} lists`;
      const more = found.length > shown ? `, the first ${shown} shown` : "";
      document.getElementById("found").textContent = words + more;
    };
    search.addEventListener("input", show);
    show();
  };

  setUpSearch();
  drawCharts().then(() => document.documentElement.setAttribute("data-drawn", ""));
})();
