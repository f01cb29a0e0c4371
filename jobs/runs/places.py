"""Where things lie in an output.

<output>/.staging/<run_id>/    while it is written; nobody reads here
<output>/runs/<run_id>/        once whole and audited; never changed again
<output>/current               -> runs/<run_id>, swapped by one rename (where there are links)
<output>/CURRENT.json          the same pointer as a file, for HDFS and object stores
<output>/quarantine/<run_id>/  refused input rows
<output>/status/<run_id>.json  what became of it; status.json of the latest
"""

STAGING = ".staging"
RUNS = "runs"
MANIFEST = "manifest.json"
"""In the directory of a run, beside its tables."""
CURRENT = "current"
CURRENT_FILE = "CURRENT.json"
STATUS = "status"
"""The directory with one file for each run."""
STATUS_FILE = "status.json"
"""The same of the latest run."""
