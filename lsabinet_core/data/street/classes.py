"""Class ids of what the street is made of, as in `lsabinet_core.labels.CAMVID`."""

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
