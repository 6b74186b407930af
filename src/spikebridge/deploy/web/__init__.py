"""A trained network as a web page: its integer model and its front end in WebAssembly, without any request."""
