//! What goes in on one side comes out on the other as it was, both ways and over both versions of HTTP.

mod bodies;
mod endings;
mod heads;
mod upgrades;
