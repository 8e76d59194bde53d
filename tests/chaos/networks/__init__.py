"""Networks that can be broken: one of namespaces of the kernel, and one of proxies, behind the same few methods."""
