"""HTTP: the JSON reference API beside the HTML dashboard, both over the same services."""
