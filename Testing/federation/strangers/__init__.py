"""Who may not come in, and what may not be run: tried on a real server, and at a real site."""
