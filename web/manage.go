package web

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strings"
)

// cors answers what pages of other origins ask first, and tells them what they may
// see. A page can do here what it has a token for: no browser sends one by itself.
// It reports whether r is answered.
func cors(w *response, r *http.Request) bool {
	if r.Header.Get("Origin") == "" {
		return false
	}
	head := w.Header()
	head.Set("Access-Control-Allow-Origin", "*")
	head.Set("Access-Control-Expose-Headers", "Content-Range")
	method := r.Header.Get("Access-Control-Request-Method")
	if r.Method != http.MethodOptions || method == "" {
		return false
	}
	if !corsMethods[method] {
		w.fail(http.StatusMethodNotAllowed, "method", "there is no such method")
		return true
	}
	head.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Range, Depth, Destination, If, Lock-Token, Overwrite, Timeout, Cache-Control")
	head.Set("Access-Control-Allow-Methods", "COPY, DELETE, GET, LOCK, MKCOL, MOVE, OPTIONS, POST, PROPFIND, PROPPATCH, PUT, RMCOL, UNLOCK")
	head.Set("Access-Control-Max-Age", "86400")
	head.Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
	return true
}

var corsMethods = map[string]bool{
	"COPY": true, "DELETE": true, "GET": true, "HEAD": true, "LOCK": true, "MKCOL": true, "MOVE": true, "OPTIONS": true, "POST": true,
	"PROPFIND": true, "PROPPATCH": true, "PUT": true, "RMCOL": true, "UNLOCK": true,
}

// bringsToken reports whether r has a token that only somebody who knows it can
// have put there. Basic credentials are none: browsers send those of their own accord.
func bringsToken(r *http.Request) bool {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "OAuth2")
}

// manage answers what is for who watches over the server. It reports whether r is
// answered.
func (h *Handler) manage(w *response, r *http.Request) bool {
	path := r.URL.Path
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case path == "/status.json" && get:
		answerJSON(w, map[string]string{"Version": h.conf.KeepWeb.Version})
	case path == "/metrics" && h.hasManagementToken(r):
		h.conf.Metrics.Handler().ServeHTTP(w, r)
	case path == "/metrics.json":
		if h.mayManage(w, r) {
			families, err := h.conf.Metrics.Registry.Gather()
			if err != nil {
				w.err = err // some of the figures are missing
			}
			answerJSON(w, families)
		}
	case strings.HasPrefix(path, "/_health/"):
		if h.mayManage(w, r) {
			h.healthCheck(w, path[len("/_health/"):])
		}
	default:
		return false
	}
	return true
}

// hasManagementToken reports whether r has the token, and there is one.
func (h *Handler) hasManagementToken(r *http.Request) bool {
	want := h.conf.KeepWeb.ManagementToken
	got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && want != "" && subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1
}

// mayManage reports whether r has the management token; else it is answered.
func (h *Handler) mayManage(w *response, r *http.Request) bool {
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case h.conf.KeepWeb.ManagementToken == "":
		w.fail(http.StatusNotFound, "disabled", "disabled")
	case r.Header.Get("Authorization") == "":
		w.fail(http.StatusUnauthorized, "", "authorization required")
	case !h.hasManagementToken(r):
		h.conf.Metrics.denied.Inc()
		w.fail(http.StatusForbidden, "denied", "authorization error")
	default:
		return true
	}
	return false
}

// healthCheck answers one of the checks: ping is that the server answers, ready that
// it can do its work, all is both.
func (h *Handler) healthCheck(w *response, check string) {
	type result struct {
		Health string `json:"health"`
		Error  string `json:"error,omitempty"`
	}
	ready := result{Health: "OK"}
	if !h.ready.Load() {
		ready = result{"ERROR", "starting or stopping"}
	} else if h.conf.Ready != nil {
		if err := h.conf.Ready(); err != nil {
			w.err = err
			ready = result{"ERROR", "the log has the reason"}
		}
	}
	switch check {
	case "ping":
		answerJSON(w, result{Health: "OK"})
	case "ready", "all":
		answerJSON(w, ready)
	default:
		w.fail(http.StatusNotFound, "not-exist", "there is no such check")
	}
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	json.NewEncoder(w).Encode(v) // a failure means that nobody reads it
}
