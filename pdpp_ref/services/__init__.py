"""Reading the totals: reconcile, cooldown, auto-reconcile, summary and freshness."""
