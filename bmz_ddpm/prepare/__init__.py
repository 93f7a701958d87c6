"""Turn raw pairs into pairs to train on: registered, judged, cut, reported."""
