"""Other people's environments as worlds, and our worlds for other people's trainers."""
