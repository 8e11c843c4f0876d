// Package eventbus tells clients over a websocket of what happens to projects and
// collections, as the event bus of an Arvados cluster does.
//
// A client sends {"method":"subscribe","filters":[…],"last_log_id":N} and is told
// of each event that one of its subscriptions matches and that its user may know
// of: of an object that the user may read, and of one that is gone if the user may
// read where it was. With last_log_id it first hears what happened since, of the last
// ten minutes, from the log; nothing is told twice and nothing is left out between
// log and present.
//
// # Two lanes
//
// An Arvados client expects the portable data hash in an event. Here it costs as much as
// the collection has files, and has its blocks stored. So there are two lanes with a goroutine and
// a queue each. In the plain one, events wait for hashes, within bounds that
// hash.go has. A client that subscribes with "keepdav":true is in the fast one: its events
// have no hash and come at once, with the revision of the collection in
// properties.keepdav. No hash is made for it.
//
// In the queues of lanes and of sessions a change of content that waits is dropped for a later
// one of the same collection, which says as much.
//
// # Locks
//
// lane.mu comes before session.mu. Neither is held during I/O.
//
// Start reading at bus.go, then lane.go and session.go.
package eventbus
