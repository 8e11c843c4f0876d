package main

import (
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// measure registers the figures of the store. They are read when somebody asks
// for them; the store itself does not know of them.
func (s *store) measure(r *prometheus.Registry) {
	gauge := func(name, help string, f func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
	}
	counter := func(name, help string, f func() float64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, f))
	}
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	gauge("keepdav_spool_open_blocks", "Blocks in the making that still take data.", func() float64 { return float64(s.Spool.Stats().Open) })
	gauge("keepdav_spool_sealed_blocks", "Blocks that wait to be hashed and stored.", func() float64 { return float64(s.Spool.Stats().Sealed) })
	gauge("keepdav_spool_failed_blocks", "Blocks that could not be stored yet.", func() float64 { return float64(s.Spool.Stats().Failed) })
	gauge("keepdav_spool_waiting_bytes", "Bytes that are not hashed and stored yet. They are on disk and safe.", func() float64 { return float64(s.Spool.Stats().Waiting) })
	gauge("keepdav_tree_cache_bytes", "Estimated memory of the collections that are loaded.", func() float64 { return float64(s.Files.CachedBytes()) })
	counter("keepdav_commits_total", "Transactions handed to the catalog.", func() float64 {
		all, _ := s.Gate.Commits()
		return float64(all)
	})
	counter("keepdav_commits_failed_total", "Transactions that the catalog refused or could not keep.", func() float64 {
		_, failed := s.Gate.Commits()
		return float64(failed)
	})
	gauge("keepdav_journal_bytes", "Size of the journal.", func() float64 { return float64(dirBytes(filepath.Join(s.Dir, "journal"))) })
	gauge("keepdav_locks", "Locks that WebDAV clients hold.", func() float64 { return float64(len(s.davLocks.List())) })
	gauge("keepdav_loaded_collections", "Collections in memory.", func() float64 {
		cs, done := s.Files.Loaded()
		defer done()
		return float64(len(cs))
	})
	counter("keepdav_merge_conflicts_total", "Files that two sides had changed, kept as two.", func() float64 { return float64(s.Files.Conflicts()) })
	gauge("keepdav_disk_free_bytes", "Room left on the disk of the store.", func() float64 {
		free, _, err := s.Blocks.Free()
		if err != nil {
			return -1
		}
		return float64(free)
	})
	gauge("keepdav_store_ready", "1 while the store can do its work as it should.", func() float64 {
		if s.Ready() != nil {
			return 0
		}
		return 1
	})
}

// dirBytes is the size of the files in a directory, -1 when it cannot be read.
func dirBytes(dir string) int64 {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return -1
	}
	var n int64
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
	}
	return n
}
