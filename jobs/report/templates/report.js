"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const SHOWN = 12;
  const SHOWN_FIRST = 4;

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

  const setSideBySide = (sides) => {
    const pair = document.createElement("div");
    pair.className = "sides";
    for (const [title, content] of sides) {
      const side = document.createElement("div");
      side.append(element("h4", title), content);
      pair.append(side);
    }
    return pair;
  };

  const listRatings = (titles, query, items, ratings) => {
    if (items.length === 0) return element("p", "No valid rating.");
    const list = document.createElement("ul");
    list.className = "rated";
    items.forEach((item, at) => {
      const rating = element("span", ratings[at].toLocaleString("en"));
      rating.className = "number";
      const row = document.createElement("li");
      row.append(rating, withMark("span", titles[item], query));
      list.append(row);
    });
    return list;
  };

  const showUser = ([user, source, items, rated = [], ratings = []], sample, query) => {
    const card = document.createElement("article");
    const list = document.createElement("ol");
    list.append(...items.map((item) => withMark("li", sample.titles[item], query)));
    const heading = element("h3", "User ");
    heading.append(user);
    card.append(heading);
    if (source !== "model") card.append(element("p", `by ${source}`));
    if (!sample.rated) { // a run of a release that kept no ratings
      card.append(list);
      return card;
    }
    const theirs = listRatings(sample.titles, query, rated, ratings);
    card.append(setSideBySide([["Recommended", list], [sample.rated, theirs]]));
    return card;
  };

  const setUpSearch = () => {
    const sample = read("sample");
    const { users, titles } = sample;
    const lowered = titles.map((title) => title.toLowerCase());
    const search = document.getElementById("search");
    const results = document.getElementById("results");
    const find = (query) => {
      const byId = users.filter(([user]) => user.toLowerCase().startsWith(query));
      const known = new Set(byId);
      const hits = lowered.map((title) => title.includes(query)); // once, not for every user
      const has = (items) => items.some((item) => hits[item]);
      const byTitle = users.filter(
        (user) => !known.has(user) && (has(user[2]) || has(user[3] ?? []))
      );
      return query ? [...byId, ...byTitle] : users;
    };
    const show = () => {
      const query = search.value.trim().toLowerCase();
      const found = find(query);
      const shown = query ? SHOWN : SHOWN_FIRST;
      results.replaceChildren(
        ...found.slice(0, shown).map((user) => showUser(user, sample, query))
      );
      const words = found.length === 1 ? "1 user" : `${found.length.toLocaleString("en")} users`;
      const more = found.length > shown ? `, the first ${shown} shown` : "";
      document.getElementById("found").textContent = words + more;
    };
    search.addEventListener("input", show);
    show();
  };

  setUpSearch();
  drawCharts().then(() => document.documentElement.setAttribute("data-drawn", ""));
})();
