// Command events follows what happens on a Towpath platform over NATS, as a program of yours would: with a durable consumer, which
// goes on where it was after a restart and misses nothing. It prints each commit that a deployment made.
//
//	go run ./examples/events -seed .towpath/data/nats/operator.nk
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	eventsv1 "github.com/towpath-dev/towpath/gen/towpath/events/v1"
)

func main() {
	server := flag.String("server", "nats://127.0.0.1:7082", "the event server")
	seed := flag.String("seed", "operator.nk", "file with the operator's key")
	limit := flag.Int("n", 0, "end after so many events; 0 never ends")
	flag.Parse()
	if err := follow(context.Background(), *server, *seed, *limit); err != nil {
		log.Fatal(err)
	}
}

func follow(ctx context.Context, server, seed string, limit int) error {
	key, err := nats.NkeyOptionFromSeed(seed)
	if err != nil {
		return fmt.Errorf("read the key: %w", err)
	}
	conn, err := nats.Connect(server, key)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", server, err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	// Operators read and do not acknowledge, so the server moves the position on with each event that it hands out.
	consumer, err := js.CreateOrUpdateConsumer(ctx, "TOWPATH_EVENTS", jetstream.ConsumerConfig{
		Durable: "commits", AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
		FilterSubject: "towpath.evt.*.*.deployment.committed",
	})
	if err != nil {
		return fmt.Errorf("make the consumer: %w", err)
	}
	for n := 0; limit == 0 || n < limit; {
		msg, err := consumer.Next(jetstream.FetchMaxWait(5 * time.Second))
		if errors.Is(err, nats.ErrTimeout) {
			continue // nothing happened
		}
		if err != nil {
			return err
		}
		var event eventsv1.DeploymentCommitted
		if err := decode(msg, &event); err != nil {
			return err
		}
		fmt.Println(event.GetDeployment(), event.GetCommit(), event.GetFilesChanged(), "files")
		n++
	}
	return nil
}

// decode reads the body, which is protobuf, compressed where that makes it smaller.
func decode(msg jetstream.Msg, into proto.Message) error {
	body := msg.Data()
	if msg.Headers().Get("content-encoding") == "zstd" {
		reader, err := zstd.NewReader(nil)
		if err != nil {
			return err
		}
		defer reader.Close()
		if body, err = reader.DecodeAll(body, nil); err != nil {
			return fmt.Errorf("%s: %w", msg.Subject(), err)
		}
	}
	return proto.Unmarshal(body, into)
}
