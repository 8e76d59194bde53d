"""Everything that can go wrong, by what it goes wrong with. Each fault is a function of the scene and of chance."""
