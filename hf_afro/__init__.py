"""Make a multilingual encoder African, small and proven."""
