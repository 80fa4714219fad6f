"""The cost model: activity, cycles, traffic, energy, and how far each figure can be believed."""
