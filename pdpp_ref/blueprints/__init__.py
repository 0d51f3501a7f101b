"""HTTP: the JSON APIs and the HTML dashboard, over the same services."""
