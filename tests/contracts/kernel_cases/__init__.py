"""One file a family of kernels: `KERNELS` by name, and which of them are `EXACT` or `DETERMINISTIC`."""
