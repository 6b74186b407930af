"""The networks of the paper and the digits network of the demo, one folder each."""
