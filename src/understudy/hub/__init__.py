"""Models, data sets and files from elsewhere: found in the cache, or downloaded, checked and then found there."""
