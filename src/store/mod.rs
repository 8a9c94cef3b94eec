//! Files and SQLite: the only place that knows where and how Verso keeps its state.
