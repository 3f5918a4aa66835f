"""A procedural street: a small 3-D world, its light and a pinhole camera, drawn as an image with exact labels.

World axes, in metres: x to the right of the street's heading, y up (0 is the road surface), z along the street. Street
coordinates are (s, d): s = z, d = lateral distance from the centre line, positive to the right.
"""
