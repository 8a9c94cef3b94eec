//! Sources of every kind, from a server, a folder and a model.
