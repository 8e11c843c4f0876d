package dav

import (
	"compress/gzip"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	xmlHead        = `<?xml version="1.0" encoding="utf-8"?>`
	multistatusTop = xmlHead + `<D:multistatus xmlns:D="DAV:">`
	multistatusEnd = `</D:multistatus>`
	xmlType        = `application/xml; charset=utf-8`
)

// flushSize is how much of an answer is gathered before it is written. It also
// decides what is small: an answer that fits is sent with its length and is not
// compressed.
const flushSize = 32 << 10

// A multistatus writes a 207 answer piece by piece. Its memory does not grow
// with the answer. Callers append to buf and call flushIfFull between entries.
type multistatus struct {
	buf     []byte
	w       http.ResponseWriter
	out     io.Writer // w or gz; nil before the header is written
	gz      *gzip.Writer
	gzipOK  bool
	started bool
	rc      *http.ResponseController
	stall   time.Duration // for each flush
}

var (
	bufPool = sync.Pool{New: func() any { b := make([]byte, 0, flushSize+8<<10); return &b }}
	gzPool  = sync.Pool{New: func() any { z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed); return z }}
)

// newMultistatus begins an answer; finish has to be called.
func (q *request) newMultistatus(gzipOK bool) *multistatus {
	m := &multistatus{w: q.w, gzipOK: gzipOK, stall: q.h.conf.Stall}
	m.buf = append((*bufPool.Get().(*[]byte))[:0], multistatusTop...)
	return m
}

// flushIfFull sends what is gathered once it is worth a write. It is called
// between entries, so that buf ends with a whole one.
func (m *multistatus) flushIfFull() error {
	if len(m.buf) < flushSize {
		return nil
	}
	return m.flush()
}

func (m *multistatus) flush() error {
	if !m.started {
		m.started = true
		h := m.w.Header()
		h.Set("Content-Type", xmlType)
		m.out = m.w
		if m.gzipOK {
			h.Set("Content-Encoding", "gzip")
			h.Set("Vary", "Accept-Encoding")
			m.gz = gzPool.Get().(*gzip.Writer)
			m.gz.Reset(m.w)
			m.out = m.gz
		}
		m.rc = http.NewResponseController(m.w)
		m.w.WriteHeader(http.StatusMultiStatus)
	}
	_ = m.rc.SetWriteDeadline(time.Now().Add(m.stall))
	_, err := m.out.Write(m.buf)
	m.buf = m.buf[:0]
	return err
}

// finish ends the answer.
func (m *multistatus) finish() error {
	m.buf = append(m.buf, multistatusEnd...)
	defer m.release()
	if !m.started {
		h := m.w.Header()
		h.Set("Content-Type", xmlType)
		h.Set("Content-Length", strconv.Itoa(len(m.buf)))
		m.w.WriteHeader(http.StatusMultiStatus)
		_, err := m.w.Write(m.buf)
		return err
	}
	err := m.flush()
	if m.gz != nil {
		if cerr := m.gz.Close(); err == nil {
			err = cerr
		}
	}
	_ = m.rc.SetWriteDeadline(time.Time{})
	return err
}

// release gives the buffers back, also when the answer was cut short.
func (m *multistatus) release() {
	if m.gz != nil {
		m.gz.Reset(nil)
		gzPool.Put(m.gz)
		m.gz = nil
	}
	if cap(m.buf) > 0 && cap(m.buf) <= 4*flushSize {
		b := m.buf[:0]
		bufPool.Put(&b)
	}
	m.buf = nil
}

// appendStatusLine appends a <status> element.
func appendStatusLine(b []byte, status int) []byte {
	b = append(b, "<D:status>HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(status)...)
	return append(b, "</D:status>"...)
}

// response appends a whole <response> that says how one resource fared.
func (m *multistatus) response(href string, status int, cond string) {
	b := append(m.buf, "<D:response><D:href>"...)
	b = append(b, href...)
	b = append(b, "</D:href>"...)
	b = appendStatusLine(b, status)
	if cond != "" {
		b = appendCondition(b, cond, nil)
	}
	m.buf = append(b, "</D:response>"...)
}

// appendCondition appends an <error> element with one condition, which may hold
// hrefs.
func appendCondition(b []byte, cond string, hrefs []string) []byte {
	b = append(append(append(b, "<D:error><D:"...), cond...), '>')
	for _, h := range hrefs {
		b = append(append(append(b, "<D:href>"...), h...), "</D:href>"...)
	}
	return append(append(append(b, "</D:"...), cond...), "></D:error>"...)
}

// errorBody is the document that names a failed condition.
func errorBody(cond string, hrefs []string) []byte {
	b := appendCondition(append([]byte(nil), xmlHead...), cond, hrefs)
	return append(b[:len(xmlHead):len(xmlHead)], append([]byte(`<D:error xmlns:D="DAV:">`), b[len(xmlHead)+len("<D:error>"):]...)...)
}

// httpDate keeps the last time that was printed: neighbours often have the same.
type httpDate struct {
	unix int64
	text [29]byte
	ok   bool
}

// append appends t as RFC 9110 has it: "Mon, 02 Jan 2006 15:04:05 GMT".
func (d *httpDate) append(b []byte, t time.Time) []byte {
	u := t.Unix()
	if !d.ok || d.unix != u {
		appendHTTPDate(d.text[:0], u)
		d.unix, d.ok = u, true
	}
	return append(b, d.text[:]...)
}

// append8601 appends t as creationdate has it: RFC 3339 in UTC, whole seconds.
func (d *httpDate) append8601(b []byte, t time.Time) []byte {
	u := t.Unix()
	if !d.ok || d.unix != u {
		append8601(d.text[:0], u)
		d.unix, d.ok = u, true
	}
	return append(b, d.text[:20]...)
}

const (
	dayNames   = "SunMonTueWedThuFriSat"
	monthNames = "JanFebMarAprMayJunJulAugSepOctNovDec"
)

func appendHTTPDate(b []byte, unix int64) []byte {
	c := civilOf(unix)
	b = append(b, dayNames[3*c.weekday:3*c.weekday+3]...)
	b = append(append2(append(b, ", "...), c.day), ' ')
	b = append(append(b, monthNames[3*c.month-3:3*c.month]...), ' ')
	b = append(append2(append2(b, c.year/100), c.year%100), ' ')
	return append(appendClock(b, c.second), " GMT"...)
}

func append8601(b []byte, unix int64) []byte {
	c := civilOf(unix)
	b = append(append2(append2(b, c.year/100), c.year%100), '-')
	b = append(append2(b, c.month), '-')
	b = append(append2(b, c.day), 'T')
	return append(appendClock(b, c.second), 'Z')
}

func appendClock(b []byte, second int) []byte {
	b = append(append2(b, second/3600), ':')
	b = append(append2(b, second/60%60), ':')
	return append2(b, second%60)
}

func append2(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }

// civil is a moment in UTC, by the calendar.
type civil struct{ year, month, day, weekday, second int }

// civilOf computes the date of a moment, cut to the years 1 to 9999. Years begin
// in March here, which puts the leap day last. package time does the same, more
// generally and slower, which shows in a long listing.
func civilOf(unix int64) civil {
	unix = min(max(unix, minUnix), maxUnix)
	days := unix / 86400
	if unix%86400 < 0 {
		days--
	}
	c := civil{second: int(unix - days*86400), weekday: int((days + 4 + 7*200_000) % 7)}
	n := int(days) + 719468 // days since 1 March of year 0; never negative here
	if n < 0 {
		n += 146097 // 400 years have that many days
		c.year = -400
	}
	era := n / 146097
	n -= era * 146097
	yoe := (n - n/1460 + n/36524 - n/146096) / 365
	doy := n - (365*yoe + yoe/4 - yoe/100)
	m := (5*doy + 2) / 153
	c.day = doy - (153*m+2)/5 + 1
	c.month = m + 3
	c.year += era*400 + yoe
	if c.month > 12 {
		c.month -= 12
		c.year++
	}
	return c
}
