//! Plain loops: the executable specification.
