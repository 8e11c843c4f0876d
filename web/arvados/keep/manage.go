package keep

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"keepdav/keepio"
)

// manage answers what only those who look after all blocks may ask, and what
// nobody may.
func (h *Handler) manage(w http.ResponseWriter, r *http.Request, loc string) {
	task := h.task(r, loc)
	if task == nil {
		fail(w, http.StatusBadRequest, "Bad Request")
		return
	}
	_, c, ok := h.caller(w, r)
	switch {
	case !ok:
	case !c.Admin:
		fail(w, http.StatusForbidden, "Forbidden")
	default:
		task(w, r)
	}
}

// task is what a request asks for, nil if there is nothing like it.
func (h *Handler) task(r *http.Request, loc string) http.HandlerFunc {
	first, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case loc != "" && r.Method == "TOUCH":
		return func(w http.ResponseWriter, _ *http.Request) { h.touch(w, loc) }
	case loc != "" && r.Method == http.MethodDelete,
		r.Method == http.MethodPut && (first == "pull" || first == "trash" || first == "untrash"):
		return notHere
	case get && first == "index":
		if rest == "" {
			rest = r.URL.Query().Get("prefix")
		}
		return h.indexOf(rest)
	case get && first == "mounts" && rest == "":
		return h.mounts
	case get && first == "mounts":
		id, what, _ := strings.Cut(rest, "/")
		if what, prefix, _ := strings.Cut(what, "/"); what == "blocks" {
			if id != h.mountID() {
				return func(w http.ResponseWriter, _ *http.Request) { fail(w, http.StatusNotFound, "no such mount") }
			}
			if prefix == "" {
				prefix = r.URL.Query().Get("prefix")
			}
			return h.indexOf(prefix)
		}
	}
	return nil
}

// notHere refuses what the store does by itself.
func notHere(w http.ResponseWriter, _ *http.Request) {
	fail(w, http.StatusMethodNotAllowed, "this store finds its garbage itself")
}

func (h *Handler) touch(w http.ResponseWriter, text string) {
	loc, _, err := parse(text)
	if err != nil {
		fail(w, http.StatusBadRequest, "Bad Request")
		return
	}
	if err := h.conf.Blocks.Touch(loc.Hash()); err != nil {
		failed(w, err)
		return
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

// indexOf lists the blocks whose hash begins with prefix. An empty line at the
// end says that the list is complete.
func (h *Handler) indexOf(prefix string) http.HandlerFunc {
	if len(prefix) > 32 || strings.Trim(prefix, "0123456789abcdef") != "" {
		return nil
	}
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		out := bufio.NewWriterSize(w, 32<<10)
		began := false
		err := h.conf.Blocks.WalkPrefix(r.Context(), prefix, func(i keepio.Info) error {
			began = true
			_, err := fmt.Fprintf(out, "%x+%d %d\n", i.Hash, i.Size, i.Modified.UnixNano())
			return err
		})
		switch {
		case err == nil:
			out.WriteByte('\n')
			if out.Flush() == nil {
				return
			}
		case !began:
			failed(w, err)
			return
		}
		panic(http.ErrAbortHandler) // without the last line, and not as if it ended there
	}
}

// mountID is the UUID of the one volume that there is.
func (h *Handler) mountID() string { return h.conf.Cluster + "-nyw5e-000000000000000" }

func (h *Handler) mounts(w http.ResponseWriter, _ *http.Request) {
	type mount struct {
		UUID        string          `json:"uuid"`
		Device      string          `json:"device_id"`
		AllowWrite  bool            `json:"allow_write"`
		AllowTrash  bool            `json:"allow_trash"` // nobody else may: the store does it itself
		Replication int             `json:"replication"`
		Classes     map[string]bool `json:"storage_classes"`
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	json.NewEncoder(w).Encode([]mount{{ // a failure means that nobody reads it
		UUID: h.mountID(), Device: "keepdav:" + h.conf.Cluster, AllowWrite: true,
		Replication: 1, Classes: map[string]bool{defaultClass: true},
	}})
}
