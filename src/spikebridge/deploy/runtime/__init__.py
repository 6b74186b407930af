"""The float runtime in numpy, without torch: a second implementation of the rules of time, which checks the first."""
