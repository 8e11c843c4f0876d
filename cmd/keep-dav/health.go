package main

import (
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

type healthCmd struct {
	URL string `arg:"" default:"http://127.0.0.1:8080/" help:"The server."`
}

func (c *healthCmd) Run() error {
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get(strings.TrimSuffix(c.URL, "/") + "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errUnhealthy
	}
	_, err = io.Copy(os.Stdout, io.LimitReader(resp.Body, 100))
	return err
}
