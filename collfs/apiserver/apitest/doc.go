// Package apitest is an API server of an Arvados cluster, in this process, for
// tests: records, versions, replace_files, replace_segments, permissions, the log and
// the event bus. What it answers has the form of recorded answers of a real one; what
// it knows is what the client needs. Faults are made by hooks.
//
// One mutex guards everything; hooks are called without it.
// Start reading at server.go, then replace.go.
package apitest
