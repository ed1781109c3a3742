"""A recogniser for Sidetone in Python: PocketSphinx behind proto/sidetone/v1/recogniser.proto. Started by run.sh."""

import argparse
import contextlib
import queue
from concurrent import futures

import grpc
from pocketsphinx import Decoder
import recogniser_pb2 as pb
import recogniser_pb2_grpc

SAMPLE_RATE = 16000
FRAME_MS = 10  # PocketSphinx counts time in frames


class Recogniser(recogniser_pb2_grpc.RecogniserServicer):
    def __init__(self, streams):
        self.capabilities = pb.Capabilities(
            name="PocketSphinx 5, en-us", streaming=True, word_times=True, languages=["en"], max_streams=streams
        )
        # A decoder takes a third of a second to make and is used again; each serves one stream at a time.
        self.free = queue.SimpleQueue()
        for _ in range(streams):
            self.free.put(Decoder(samprate=SAMPLE_RATE, loglevel="FATAL"))
        self.cepstral_mean = Decoder(samprate=SAMPLE_RATE, loglevel="FATAL").get_cmn(False)

    def GetCapabilities(self, request, context):
        return self.capabilities

    def GetHealth(self, request, context):
        return pb.Health(serving=True)

    def Recognise(self, requests, context):
        try:
            decoder = self.free.get_nowait()
        except queue.Empty:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "all streams are taken")
        try:
            decoder.set_cmn(self.cepstral_mean)  # or the last speaker's voice would colour this one's
            decoder.start_utt()
            yield from self.hear(decoder, requests, context)
        finally:  # also when the call is cancelled: then the iterator of requests raises
            with contextlib.suppress(RuntimeError):  # it came to its end
                decoder.end_utt()
            self.free.put(decoder)

    def hear(self, decoder, requests, context):
        first = next(requests, None)
        if first is None or first.WhichOneof("message") != "config":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "an utterance begins with its config")
        if first.config.sample_rate != SAMPLE_RATE or first.config.language not in ("", "en"):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "this is English at 16000 Hz")
        shown = ""
        for request in requests:
            kind = request.WhichOneof("message")
            if kind == "end":
                decoder.end_utt()
                yield pb.RecogniseResponse(is_final=True, words=words(decoder))
                return
            if kind != "audio" or len(request.audio) % 2:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "after the config come whole samples of audio, and the end")
            decoder.process_raw(request.audio)
            hypothesis = decoder.hyp() if first.config.partials else None
            if hypothesis and hypothesis.hypstr != shown:
                shown = hypothesis.hypstr
                yield pb.RecogniseResponse(words=words(decoder))


def words(decoder):
    """The words of the best hypothesis: without silence (<sil>), noise ([NOISE]) and marks of variants ("to(2)")."""
    return [
        pb.RecognisedWord(
            text=segment.word.split("(")[0],
            start_ms=segment.start_frame * FRAME_MS,
            end_ms=(segment.end_frame + 1) * FRAME_MS,
            confidence=min(max(segment.prob, 0.0), 1.0),
        )
        for segment in decoder.seg() or []
        if segment.word[0] not in "<["
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:50051")
    parser.add_argument("--streams", type=int, default=8, help="parties that may speak at once")
    arguments = parser.parse_args()
    # More threads than streams, so that one too many is refused instead of waiting for a thread.
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4 * arguments.streams + 8))
    recogniser_pb2_grpc.add_RecogniserServicer_to_server(Recogniser(arguments.streams), server)
    server.add_insecure_port(arguments.listen)
    server.start()
    print(f"recogniser: grpc://{arguments.listen}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
