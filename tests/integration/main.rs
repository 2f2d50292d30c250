//! Tests of the whole program in one process: server and agent between a client and a stand-in API server.
