"""Task data: readers of CoNLL, tables, published and described sets, and the Hub, all of which make a `TaskData`."""
