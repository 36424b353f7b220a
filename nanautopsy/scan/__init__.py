"""Many runs at once: find them in an archive, analyze each, keep the results in a catalog."""
