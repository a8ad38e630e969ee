"""Task data: readers of the published forms, of the Hub and of described sets, into one `TaskData`."""
