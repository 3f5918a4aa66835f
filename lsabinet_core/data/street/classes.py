"""Class ids of the street elements, as in `lsabinet_core.labels.CAMVID`."""

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
