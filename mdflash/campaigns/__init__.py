"""Many runs of one plan: planned as folders, worked off by any executor, and put into one table."""
