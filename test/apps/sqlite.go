package apps

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite"
)

// childVar tells a process that it is a child, and its job.
const childVar = "KEEPDAV_APPS_CHILD"

var childAsked bool // set before any test runs

// Child does a child's job if this process is one, and then does not return.
// TestMain calls it first.
func Child() {
	childAsked = true
	job, ok := os.LookupEnv(childVar)
	if !ok {
		return
	}
	if err := doJob(job, os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// doJob is "write PATH MODE WRITER TRANSACTIONS" or "check PATH MODE WRITERS TRANSACTIONS".
func doJob(job string, args []string) (err error) {
	if len(args) != 4 {
		return fmt.Errorf("%d arguments", len(args))
	}
	who, err1 := strconv.Atoi(args[2])
	n, err2 := strconv.Atoi(args[3])
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	pragmas := url.Values{"_pragma": {"busy_timeout(60000)", "journal_mode(" + args[1] + ")", "synchronous(full)"}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: args[0]}).EscapedPath()+"?"+pragmas.Encode())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	if job == "write" {
		return fillDB(db, who, n)
	}
	return checkDB(db, args[1], who, n)
}

// fillDB adds n transactions of ten rows, and takes one row of each away again.
func fillDB(db *sql.DB, who, n int) error {
	if _, err := db.Exec("create table if not exists t (id integer primary key, who int, n int, text text)"); err != nil {
		return err
	}
	if _, err := db.Exec("create index if not exists who on t (who, n)"); err != nil {
		return err
	}
	for i := range n {
		tx, err := db.Begin()
		if err != nil {
			return err
		}
		for j := range 10 {
			if _, err := tx.Exec("insert into t (who, n, text) values (?, ?, ?)", who, i*10+j, strings.Repeat("text ", 50)); err != nil {
				return errors.Join(err, tx.Rollback())
			}
		}
		if _, err := tx.Exec("delete from t where who = ? and n = ?", who, i*10+5); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	return nil
}

func checkDB(db *sql.DB, mode string, writers, n int) error {
	for pragma, want := range map[string]string{"journal_mode": mode, "integrity_check": "ok"} {
		if err := pragmaIs(db, pragma, want); err != nil {
			return err
		}
	}
	var rows, distinct int
	if err := db.QueryRow("select count(*), count(distinct who * 1000000 + n) from t").Scan(&rows, &distinct); err != nil {
		return err
	}
	if want := writers * n * 9; rows != want || distinct != want {
		return fmt.Errorf("%d rows, %d of them distinct; want %d", rows, distinct, want)
	}
	if _, err := db.Exec("vacuum"); err != nil {
		return err
	}
	return pragmaIs(db, "integrity_check", "ok")
}

func pragmaIs(db *sql.DB, pragma, want string) error {
	var got string
	if err := db.QueryRow("pragma " + pragma).Scan(&got); err != nil {
		return fmt.Errorf("%s: %w", pragma, err)
	}
	if got != want {
		return fmt.Errorf("%s = %q; want %q", pragma, got, want)
	}
	return nil
}

func runSQLite(ctx context.Context, e *env, mode string) error {
	const writers, transactions = 2, 40
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	path := filepath.Join(e.dir, "some data.db")
	job := func(job string, who, n int) error {
		cmd := exec.CommandContext(ctx, exe, path, mode, fmt.Sprint(who), fmt.Sprint(n))
		cmd.Env = append(os.Environ(), childVar+"="+job)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", job, err, out)
		}
		return nil
	}
	if err := job("write", writers, 0); err != nil { // two that make a database may be in each other's way
		return err
	}
	start := time.Now()
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() { errs[i] = job("write", i, transactions) })
	}
	wg.Wait()
	e.took(fmt.Sprintf("%d transactions of two processes", writers*transactions), start)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return job("check", writers, transactions)
}
