package web

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// methods are those that are counted by their names; all others count as "other".
var methods = []string{
	"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "other",
}

var methodIndex = func() map[string]int {
	m := make(map[string]int, len(methods))
	for i, name := range methods {
		m[name] = i
	}
	return m
}()

// Metrics are the figures of the HTTP side. Whoever has other figures registers
// them with Registry. Nothing here can fail once it is made.
type Metrics struct {
	Registry *prometheus.Registry

	requests *prometheus.CounterVec
	cells    [][600]atomic.Pointer[prometheus.Counter] // of requests, by method and status
	latency  []prometheus.Observer
	in, out  prometheus.Counter
	running  prometheus.Gauge
	panics   prometheus.Counter
	denied   prometheus.Counter
}

// NewMetrics makes the figures, all zero.
func NewMetrics() *Metrics {
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keepdav_http_requests_total", Help: "Requests answered."}, []string{"method", "status"}),
		cells:    make([][600]atomic.Pointer[prometheus.Counter], len(methods)),
		in:       prometheus.NewCounter(prometheus.CounterOpts{Name: "keepdav_http_received_bytes_total", Help: "Bytes of request bodies."}),
		out:      prometheus.NewCounter(prometheus.CounterOpts{Name: "keepdav_http_sent_bytes_total", Help: "Bytes of response bodies."}),
		running:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "keepdav_http_requests_running", Help: "Requests being answered."}),
		panics:   prometheus.NewCounter(prometheus.CounterOpts{Name: "keepdav_http_panics_total", Help: "Panics that were answered with 500."}),
		denied:   prometheus.NewCounter(prometheus.CounterOpts{Name: "keepdav_logins_denied_total", Help: "Requests whose credentials were not accepted."}),
	}
	latency := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "keepdav_http_request_seconds", Help: "Time from the header of a request to the end of its answer.",
		Buckets: []float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120, 600},
	}, []string{"method"})
	for _, name := range methods {
		m.latency = append(m.latency, latency.WithLabelValues(name))
	}
	m.Registry.MustRegister(m.requests, latency, m.in, m.out, m.running, m.panics, m.denied)
	return m
}

// observe counts one answered request.
func (m *Metrics) observe(method string, status int, in, out int64, took time.Duration) {
	i, ok := methodIndex[method]
	if !ok {
		i = len(methods) - 1
	}
	status = min(max(status, 0), 599)
	cell := m.cells[i][status].Load()
	if cell == nil {
		c := m.requests.WithLabelValues(methods[i], strconv.Itoa(status))
		cell = &c
		m.cells[i][status].Store(cell)
	}
	(*cell).Inc()
	if status != http.StatusSwitchingProtocols { // which lasts as long as the client likes
		m.latency[i].Observe(took.Seconds())
	}
	m.in.Add(float64(in))
	m.out.Add(float64(out))
}

// Handler answers with all figures in Prometheus' text form.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}
