"""The framing rules of the contract, one by one, and any interleaving of them."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth.contract import ml_service_pb2 as pb
from hearth.errors import InvalidInput, Overloaded
from hearth.rpc import framing
from hearth.rpc.chunked_request import CHUNK_COST, Incoming, RejectedRequest
from hearth.rpc.framing import Assembler
from hearth.rpc.responses import failure, responses
from hearth.serving.admission import Admission, StreamBudget
from hearth.serving.status import status_of
from hearth.tasks.answer import Result
from hearth.tasks.task import Request

MIB = 1024 * 1024


def assembler(budget: StreamBudget | None = None, **limits: int) -> Assembler:
    limits = {"largest_request": MIB, "largest_held": 4 * MIB, **limits}
    return Assembler(budget or share_of_a_node(), **limits)


def share_of_a_node(most_bytes: int = 4 * MIB) -> StreamBudget:
    return Admission(1024, most_bytes).open()


def whole(cid: str = "a", payload: bytes = b"x", **fields: object) -> pb.InferRequest:
    return pb.InferRequest(correlation_id=cid, task="t", payload=payload, **fields)


def chunks(cid: str, parts: list[bytes], meta: dict[str, str] | None = None, everywhere=False):
    offset = 0
    for seq, part in enumerate(parts):
        yield pb.InferRequest(
            correlation_id=cid,
            task="t" if seq == 0 or everywhere else "",
            payload=part,
            payload_mime="image/png" if seq == 0 or everywhere else "",
            meta=meta if meta and (seq == 0 or everywhere) else None,
            seq=seq,
            total=len(parts),
            offset=offset,
        )
        offset += len(part)


def feed(target: Assembler, message: pb.InferRequest):
    return list(target.feed(message))


def feed_all(target: Assembler, messages) -> list[Incoming]:
    return [out for message in messages for out in feed(target, message)]


@pytest.mark.parametrize("total", [0, 1])
def test_a_message_with_total_up_to_one_is_whole(total):
    [request] = feed(assembler(), whole(total=total, meta={"topk": "3"}, payload_mime="text/plain"))
    assert request == Request("t", b"x", "text/plain", {"topk": "3"}, "a")


@pytest.mark.parametrize("everywhere", [True, False])
def test_chunks_come_out_as_one_request_whether_meta_is_repeated_or_not(everywhere):
    parts = [b"one", b"two", b"three"]
    out = feed_all(assembler(), chunks("a", parts, {"topk": "3"}, everywhere))
    assert out == [Request("t", b"onetwothree", "image/png", {"topk": "3"}, "a")]


def test_a_request_is_complete_with_its_last_chunk_and_not_before():
    target = assembler()
    first, second = chunks("a", [b"1", b"2"])
    assert feed(target, first) == []
    assert len(feed(target, second)) == 1
    assert target.finish() == []


def test_chunks_may_come_in_any_order():
    messages = list(chunks("a", [b"one", b"two", b"three", b"four"]))
    for order in ([3, 2, 1, 0], [1, 0, 3, 2], [2, 0, 1, 3]):
        out = feed_all(assembler(), [messages[i] for i in order])
        assert [request.payload for request in out] == [b"onetwothreefour"]
        assert out[0].mime == "image/png"


def test_a_batch_of_whole_requests_is_released_by_its_second_message():
    target = assembler()
    batch = [whole(f"{i}", b"p%d" % i, seq=i, total=3) for i in range(3)]
    assert feed(target, batch[0]) == []
    assert [r.correlation_id for r in feed(target, batch[1])] == ["0", "1"]
    assert [r.correlation_id for r in feed(target, batch[2])] == ["2"]
    assert target.finish() == []
    assert target.begun == 3


def test_several_held_first_messages_of_one_batch_size_are_all_released():
    target = assembler()
    first, second = whole("a", seq=0, total=2), whole("b", seq=0, total=2)
    assert feed(target, first) == feed(target, second) == []
    out = feed(target, whole("c", seq=1, total=2))
    assert [request.correlation_id for request in out] == ["a", "b", "c"]


def test_a_batch_releases_no_first_message_of_another_size():
    target = assembler()
    feed(target, whole("a", seq=0, total=3))
    assert [r.correlation_id for r in feed(target, whole("b", seq=1, total=2))] == ["b"]
    [broken] = target.finish()
    assert isinstance(broken, RejectedRequest) and "2 of 3 chunks are missing" in str(broken.error)


def test_a_chunked_request_survives_a_batch_of_the_same_total():
    target = assembler()
    one, two = chunks("a", [b"1", b"2", b"3"]), None
    first, second, third = one
    feed(target, first)
    feed(target, second)
    two = feed(target, whole("b", seq=1, total=3))
    assert [request.correlation_id for request in two] == ["b"]
    assert [request.payload for request in feed(target, third)] == [b"123"]


def test_equal_ids_on_one_stream_are_told_apart_by_their_offsets():
    one, two = chunks("", [b"aaaa", b"aa"]), chunks("", [b"b", b"bbb"])
    interleaved = [message for pair in zip(one, two, strict=True) for message in pair]
    out = feed_all(assembler(), interleaved)
    assert [request.payload for request in out] == [b"aaaaaa", b"bbbb"]


def test_empty_and_repeated_ids_of_whole_requests_are_echoed_each():
    out = feed_all(assembler(), [whole(""), whole(""), whole("x"), whole("x")])
    assert [request.correlation_id for request in out] == ["", "", "x", "x"]


def test_missing_chunks_are_told_at_half_close():
    target = assembler()
    first, _, third = chunks("a", [b"1", b"2", b"3"])
    assert feed_all(target, [first, third]) == []
    [broken] = target.finish()
    assert broken.correlation_id == "a" and "1 of 3 chunks" in str(broken.error)


def test_a_lone_first_message_of_many_is_incomplete_at_half_close():
    target = assembler()
    feed(target, whole(seq=0, total=2))
    [broken] = target.finish()
    assert isinstance(broken, RejectedRequest)


def test_a_wrong_offset_breaks_the_request_and_no_other():
    target = assembler()
    first, second = chunks("a", [b"12345", b"678"])
    second.offset = 4
    out = feed_all(target, [first, whole("b"), second, whole("c")])
    assert [type(request) for request in out] == [Request, RejectedRequest, Request]
    assert "chunk 1 starts at 4, not at 5" in str(out[1].error)


def test_a_chunk_that_comes_twice_breaks_the_request():
    first, second, third = chunks("a", [b"1", b"2", b"3"])
    out = feed_all(assembler(), [first, second, second, third])
    assert isinstance(out[0], RejectedRequest) and "twice" in str(out[0].error)


def test_meta_counts_as_held_and_is_bounded_by_message():
    budget = share_of_a_node()
    target = assembler(budget, largest_held=20_000)
    out = feed_all(
        target, (whole(f"{i}", seq=0, total=2, meta={"x": "y" * 1500}) for i in range(50))
    )
    assert out == [] and 15_000 < budget.incomplete <= 20_000
    [broken] = feed(assembler(), whole(meta={"x": "y" * framing.LARGEST_OVERHEAD}))
    assert "meta" in str(broken.error)


def test_a_repeated_chunk_leaves_no_second_request_behind():
    target = assembler()
    first, second, third = chunks("a", [b"1", b"2", b"3"])
    out = feed_all(target, [first, second, second, third])
    assert [type(request) for request in out] == [RejectedRequest]
    assert target.finish() == [] and target.begun == 1


def test_a_chunk_past_the_end_breaks_the_request():
    first, second = chunks("a", [b"1", b"2"])
    second.seq = 2
    [broken] = feed_all(assembler(), [first, second])
    assert "chunk 2 of 2" in str(broken.error)


def test_an_oversized_request_is_read_to_its_end_before_it_fails_and_its_bytes_are_dropped():
    budget = share_of_a_node()
    target = assembler(budget, largest_request=10)
    messages = list(chunks("a", [b"123456"] * 4))
    assert feed_all(target, messages[:3]) == []
    assert budget.incomplete == 0
    [broken] = feed(target, messages[3])
    assert "larger than 10 bytes" in str(broken.error)


def test_an_oversized_single_message_fails_at_once():
    [broken] = feed(assembler(largest_request=10), whole(payload=b"x" * 11))
    assert "larger than 10 bytes" in str(broken.error)


def test_bytes_of_unfinished_requests_are_bounded_by_stream():
    budget = share_of_a_node()
    target = assembler(budget, largest_held=20_000)
    out = feed_all(target, (whole(f"{i}", b"x" * 100, seq=0, total=2) for i in range(50)))
    assert out == []
    assert 15_000 < budget.incomplete <= 20_000
    kept = [len(request.chunks) for requests in target._open.values() for request in requests]
    assert 10 < sum(kept) < 20


def test_a_chunk_that_the_node_has_no_room_for_breaks_its_request_alone():
    budget = share_of_a_node(most_bytes=30_000)
    target = assembler(budget)
    first, second, third = chunks("a", [b"x" * 15_000] * 3)
    assert feed(target, first) == []
    assert budget.bytes == budget.incomplete >= 15_000
    assert feed(target, second) == []
    assert budget.bytes == budget.incomplete == 0
    budget.take(30_000)
    assert feed(target, whole("b")) == [Request("t", b"x", "", {}, "b")]
    [broken] = feed(target, third)
    assert isinstance(broken.error, Overloaded)


def test_whatever_becomes_of_a_request_its_bytes_count_no_longer():
    budget = share_of_a_node()
    target = assembler(budget)
    feed(target, whole("held", b"x" * 1000, seq=0, total=7))
    for message in chunks("whole", [b"x" * 1000] * 3):
        feed(target, message)
    assert budget.bytes == budget.incomplete > 1000
    feed(target, whole("next", seq=1, total=7))  # so that was whole as well
    assert budget.incomplete == 0
    feed(target, whole("left", b"x" * 1000, seq=0, total=2))
    assert budget.incomplete > 1000
    assert len(target.finish()) == 1
    assert budget.bytes == budget.incomplete == 0


def test_chunks_without_a_byte_count_as_held_too():
    budget = share_of_a_node()
    target = assembler(budget)
    feed_all(target, (whole(f"{i}", b"", seq=0, total=2) for i in range(10)))
    assert budget.incomplete >= 10 * CHUNK_COST


def test_unfinished_requests_are_bounded_by_stream_and_those_past_it_fail_alone():
    budget = share_of_a_node()
    target = assembler(budget, most_open=10)
    firsts = [whole(f"{i}", seq=0, total=2) for i in range(12)]
    out = feed_all(target, firsts)
    assert [broken.correlation_id for broken in out] == ["10", "11"]
    out = feed_all(target, [whole(f"{i}", b"y", seq=1, total=2, offset=1) for i in range(10)])
    assert [request.payload for request in out] == [b"xy"] * 10
    assert target.begun == 12 and budget.incomplete == 0


def test_requests_begun_are_counted_once_each():
    target = assembler()
    feed_all(target, chunks("a", [b"1", b"2", b"3"]))
    assert target.begun == 1
    feed_all(target, [whole("b"), *(whole(f"{i}", seq=i, total=2) for i in range(2))])
    assert target.begun == 4


@given(st.data())
def test_any_interleaving_comes_out_as_it_went_in(data):
    """Chunked and whole requests, chunks of each in any order, in any interleaving."""
    names = count()
    sent: dict[tuple[str, bytes], int] = {}
    queues: list[list[pb.InferRequest]] = []
    for parts in data.draw(
        st.lists(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=5), max_size=6)
    ):
        cid = f"chunked-{next(names)}"
        sent[cid, b"".join(parts)] = 1
        queues.append(data.draw(st.permutations(list(chunks(cid, parts)))))
    for payload in data.draw(st.lists(st.binary(max_size=9), max_size=6)):
        cid = data.draw(st.sampled_from(["", "same", "chunked-0"]))
        sent[cid, payload] = sent.get((cid, payload), 0) + 1
        queues.append([whole(cid, payload)])
    target, out = assembler(), []
    while queues:
        queue = data.draw(st.sampled_from(queues))
        out += feed(target, queue.pop(0))
        queues = [queue for queue in queues if queue]
    assert target.finish() == []
    got: dict[tuple[str, bytes], int] = {}
    for request in out:
        assert isinstance(request, Request), request
        key = request.correlation_id, request.payload
        got[key] = got.get(key, 0) + 1
    assert got == sent
    assert target.begun == len(out)


@given(st.lists(st.integers(min_value=1, max_value=6), min_size=1, max_size=5), st.data())
def test_any_batches_of_whole_requests_come_out_as_they_went_in(sizes, data):
    """Family A: batches follow one another; each message is whole."""
    target, out, sent = assembler(), [], []
    for number, size in enumerate(sizes):
        for index in range(size):
            message = whole(f"{number}.{index}", data.draw(st.binary(max_size=5)), seq=index)
            message.total = size
            sent.append((message.correlation_id, message.payload))
            out += feed(target, message)
    assert target.finish() == []
    assert sorted((r.correlation_id, r.payload) for r in out) == sorted(sent)


@given(
    st.lists(
        st.builds(
            pb.InferRequest,
            correlation_id=st.sampled_from(["", "a", "b"]),
            payload=st.binary(max_size=20),
            seq=st.integers(0, 6),
            total=st.integers(0, 5),
            offset=st.integers(0, 40),
        ),
        max_size=30,
    )
)
def test_no_messages_however_wrong_raise_or_stay_behind(messages):
    target = assembler(largest_request=50, largest_held=2000)
    out = feed_all(target, messages) + target.finish()
    assert all(isinstance(request, Request | RejectedRequest) for request in out)
    assert target.begun == len(out)
    assert target.finish() == []


def respond(body: bytes) -> list[pb.InferResponse]:
    result = Result(body, "application/json;schema=s_v1", "s_v1", {"k": "v"})
    return list(responses("id", result))


def test_a_result_that_fits_is_one_message():
    [message] = respond(b"{}")
    assert (message.seq, message.total, message.offset, message.is_final) == (0, 1, 0, True)
    assert message.result_mime == "application/json;schema=s_v1"
    assert message.result_schema == "s_v1"
    assert message.correlation_id == "id" and message.meta["k"] == "v"


def test_a_larger_result_is_cut_into_chunks_that_clients_can_receive():
    body = bytes(range(256)) * 40_000
    messages = respond(body)
    assert len(messages) > 1
    offset = 0
    for seq, message in enumerate(messages):
        assert message.ByteSize() < 4 * MIB
        assert (message.seq, message.total, message.offset) == (seq, len(messages), offset)
        assert message.is_final == (seq == len(messages) - 1)
        assert (message.correlation_id, message.result_schema) == ("id", "s_v1")
        assert message.result_mime == "application/json;schema=s_v1" and message.meta["k"] == "v"
        offset += len(message.result)
    assert b"".join(message.result for message in messages) == body


def test_a_failure_is_final_and_carries_code_and_message():
    [message] = failure("id", status_of(InvalidInput("why")))
    assert message.is_final and message.correlation_id == "id" and message.result == b""
    assert (message.error.code, message.error.message) == (1, "why")


def test_framing_imports_no_grpc():
    import subprocess
    import sys

    code = "import sys, hearth.rpc.framing; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
