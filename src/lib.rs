//! lopper
