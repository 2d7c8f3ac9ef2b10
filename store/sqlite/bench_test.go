// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlite

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkRotate measures a rotation, which is durable when it returns:
// alone, by 16 callers at a time (group commit), and as the raw transaction
// that it contains. Run it on the disk that is to be judged: TMPDIR says where.
func BenchmarkRotate(b *testing.B) {
	grants := []int{1000}
	if *long {
		grants = append(grants, 1_000_000)
	}
	for _, n := range grants {
		path := filepath.Join(b.TempDir(), "tsidp.db")
		s := openAt(b, path)
		fill(b, s, 0, n)
		var chain atomic.Int64
		b.Run(fmt.Sprintf("grants=%d/writers=1", n), func(b *testing.B) {
			rotateChain(b, s, chain.Add(1), b.N)
		})
		b.Run(fmt.Sprintf("grants=%d/writers=16", n), func(b *testing.B) {
			var all sync.WaitGroup
			for range 16 {
				all.Go(func() { rotateChain(b, s, chain.Add(1), b.N/16+1) })
			}
			all.Wait()
		})
		b.Run(fmt.Sprintf("grants=%d/refresh", n), func(b *testing.B) {
			for i := range b.N {
				if _, _, err := s.Refresh(b.Context(), hash(fmt.Sprint(0, ".", i*7919%n, ".0")), start); err != nil {
					b.Fatal(err)
				}
			}
		})
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("grants=%d/raw", n), func(b *testing.B) { rawRotations(b, path) })
	}
}

// rotateChain opens a grant and rotates its token n times.
func rotateChain(b *testing.B, s *Store, chain int64, n int) {
	id := fmt.Sprint("chain", chain)
	if err := s.Redeem(b.Context(), redemption(id)); err != nil {
		b.Error(err)
		return
	}
	for i := range n {
		if _, err := s.Rotate(b.Context(), rotation(fmt.Sprint(id, ".", i), fmt.Sprint(id, ".", i+1))); err != nil {
			b.Error(err)
			return
		}
	}
}

// rawRotations does what a rotation writes, with nothing around it.
func rawRotations(b *testing.B, path string) {
	db, err := sql.Open("sqlite", dsn(path, "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)")+"&_txlock=immediate")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	var seq int64
	must(db.QueryRow("SELECT grant_seq FROM tsidp_refresh WHERE hash = $1", rawHash("0.1.0")).Scan(&seq))
	var statements []*sql.Stmt
	for _, text := range []string{
		"SELECT t.spent_at, g.dead_at FROM tsidp_refresh t JOIN tsidp_record g ON g.seq = t.grant_seq WHERE t.hash = $1",
		"INSERT INTO tsidp_refresh (hash, grant_seq, created_at, expires_at) VALUES ($1, $2, $3, $4)",
		"UPDATE tsidp_refresh SET spent_at = $2, salt = $3, next_hash = $4 WHERE hash = $1",
		"UPDATE tsidp_record SET version = version + 1, used_at = $2, expires_at = $3 WHERE seq = $1",
	} {
		p, err := db.Prepare(text)
		must(err)
		defer p.Close()
		statements = append(statements, p)
	}
	name := func(i int) []byte {
		if i == 0 {
			return rawHash("0.1.0")
		}
		return rawHash(fmt.Sprint("raw", b.N, ".", i))
	}
	now := start.UnixMicro()
	b.ResetTimer()
	for i := range b.N {
		tx, err := db.Begin()
		must(err)
		var spent, dead *int64
		must(tx.Stmt(statements[0]).QueryRow(name(i)).Scan(&spent, &dead))
		_, err = tx.Stmt(statements[1]).Exec(name(i+1), seq, now, now+time.Hour.Microseconds())
		must(err)
		_, err = tx.Stmt(statements[2]).Exec(name(i), now, name(i), name(i+1))
		must(err)
		_, err = tx.Stmt(statements[3]).Exec(seq, now, now+int64(i))
		must(err)
		must(tx.Commit())
	}
}

func rawHash(name string) []byte {
	h := hash(name)
	return h[:]
}
