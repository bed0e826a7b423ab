"""A made-up city in the proportions of Seoul: streets, plans, sensors, the day's traffic."""
