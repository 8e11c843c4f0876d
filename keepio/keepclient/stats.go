package keepclient

import "sync/atomic"

// counters count what a client did.
type counters struct {
	fetches, pushes        atomic.Int64
	bytesIn, bytesOut      atomic.Int64
	retries                atomic.Int64
	refreshes, refreshErrs atomic.Int64
}

// hostStats count what happened at one host.
type hostStats struct {
	requests, errors  atomic.Int64
	bytesIn, bytesOut atomic.Int64
}

// Stats are what a Client did since it was made.
type Stats struct {
	Fetches, Pushes int64 // blocks fetched and stored
	In              int64 // bytes of blocks that came, also in vain
	Out             int64 // bytes of blocks that servers stored, each copy that was sent
	Retries         int64 // rounds over the servers that followed a failed one
	Refreshes       int64 // sources loaded again for their signatures
	RefreshErrors   int64 // of these, failed ones
	Locators        int   // that are known
	Pushed          int   // of these, blocks that were stored and are in no source yet
}

// Stats says what the client did.
func (c *Client) Stats() Stats {
	all, pushed := c.known.count()
	return Stats{
		Fetches: c.counts.fetches.Load(), Pushes: c.counts.pushes.Load(),
		In: c.counts.bytesIn.Load(), Out: c.counts.bytesOut.Load(),
		Retries:   c.counts.retries.Load(),
		Refreshes: c.counts.refreshes.Load(), RefreshErrors: c.counts.refreshErrs.Load(),
		Locators: all, Pushed: pushed,
	}
}

// ServerStats are what happened at one Keep service.
type ServerStats struct {
	URL              string
	Proxy, ReadOnly  bool
	Requests, Errors int64 // a block that is not there is no error
	In, Out          int64 // bytes of blocks
	Reads, Writes    int   // requests of each kind that may be under way at once
	Down             bool  // could not be reached a moment ago
}

// Stats says what happened at each service that is in use.
func (s *Servers) Stats() []ServerStats {
	var all []ServerStats
	for _, srv := range s.current() {
		all = append(all, ServerStats{
			URL: srv.base, Proxy: srv.proxy, ReadOnly: srv.readOnly,
			Requests: srv.stats.requests.Load(), Errors: srv.stats.errors.Load(),
			In: srv.stats.bytesIn.Load(), Out: srv.stats.bytesOut.Load(),
			Reads: srv.reads.current(), Writes: srv.writes.current(), Down: srv.isDown(),
		})
	}
	return all
}
