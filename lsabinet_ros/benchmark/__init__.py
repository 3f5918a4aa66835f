"""``lsabinet benchmark node``: what the node adds to the time of its Segmenter, over DDS."""
