"""The float runtime without torch: a second implementation of the time rules, which checks `hybrid/network`."""
