"""How fast a run is on this machine, where its time goes, and how near that is to what the machine can do."""
