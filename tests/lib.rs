//! Nothing lives here: the package is its tests. `netns` runs the real programs, `model` the decisions alone.
