"""Sixteen float32 numbers as one value of compiled code, which stays in a register.

What is computed with them is the same on every machine, lane by lane; wider registers take fewer
instructions. All arrays are flat and float32, places in them are not checked.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

WIDTH = 16
LLVM = ir.VectorType(ir.FloatType(), WIDTH)
INT = ir.IntType(32)
NOTHING = ir.Constant(LLVM, None)


class _Vector(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"float32x{WIDTH}")


VECTOR = _Vector()
FOUR = types.UniTuple(VECTOR, 4)


@register_model(_Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, LLVM)


def _address(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    return builder.gep(context.make_array(kind)(context, builder, array).data, [at])


def _load(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    place = _address(context, builder, kind, array, at)
    return builder.load(builder.bitcast(place, LLVM.as_pointer()), align=4)


def _store(context: Any, builder: Any, kind: Any, array: Any, at: Any, vector: Any) -> None:
    place = _address(context, builder, kind, array, at)
    builder.store(vector, builder.bitcast(place, LLVM.as_pointer()), align=4)


def _shuffle(builder: Any, one: Any, two: Any, order: list[int]) -> Any:
    return builder.shuffle_vector(one, two, ir.Constant(ir.VectorType(INT, WIDTH), order))


def _spread(builder: Any, scalar: Any) -> Any:
    undefined = ir.Constant(LLVM, ir.Undefined)
    one = builder.insert_element(undefined, scalar, ir.Constant(INT, 0))
    return _shuffle(builder, one, undefined, [0] * WIDTH)


def _fma(builder: Any, one: Any, two: Any, total: Any) -> Any:
    kind = ir.FunctionType(LLVM, [LLVM] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{WIDTH}f32")
    return builder.call(function, [one, two, total])


def _of_vectors(number: int, compute: Callable[..., Any]) -> Any:
    """An intrinsic of one to four vectors: ``compute`` builds its result."""
    signature = VECTOR(*[VECTOR] * number)

    def code(context, builder, signature, args):
        return compute(builder, *args)

    takes = {
        1: lambda typing, a: (signature, code),
        2: lambda typing, a, b: (signature, code),
        3: lambda typing, a, b, c: (signature, code),
        4: lambda typing, a, b, c, d: (signature, code),
    }
    return intrinsic(takes[number])


def _if(builder: Any, sign: str, one: Any, two: Any, yes: Any, no: Any) -> Any:
    return builder.select(builder.fcmp_ordered(sign, one, two), yes, no)


plus = _of_vectors(2, lambda builder, a, b: builder.fadd(a, b))
minus = _of_vectors(2, lambda builder, a, b: builder.fsub(a, b))
times = _of_vectors(2, lambda builder, a, b: builder.fmul(a, b))
# a * b + c, rounded once
multiply_add = _of_vectors(3, _fma)
# the larger of each two numbers
larger = _of_vectors(2, lambda builder, a, b: _if(builder, ">", a, b, a, b))
# c where a = b, else d
where_equal = _of_vectors(4, lambda builder, a, b, c, d: _if(builder, "==", a, b, c, d))
# b where a is not 0, else 0
only = _of_vectors(2, lambda builder, a, b: _if(builder, "==", a, NOTHING, NOTHING, b))
# a where it is above 0 or not a number, else 0
relu = _of_vectors(1, lambda builder, a: _if(builder, "<=", a, NOTHING, NOTHING, a))
# the slope b of ``relu`` at a
relu_back = _of_vectors(2, lambda builder, a, b: _if(builder, "<=", a, NOTHING, NOTHING, b))


@intrinsic
def fill(typing, number):
    """Sixteen times one number, float32."""

    def code(context, builder, signature, args):
        return _spread(builder, args[0])

    return VECTOR(types.float32), code


@intrinsic
def four_zeros(typing):
    """Four vectors of zeros."""

    def code(context, builder, signature, args):
        return context.make_tuple(builder, FOUR, [NOTHING] * 4)

    return FOUR(), code


@intrinsic
def load(typing, array, at):
    """Sixteen numbers of an array from ``at`` on."""

    def code(context, builder, signature, args):
        return _load(context, builder, signature.args[0], *args)

    return VECTOR(array, types.intp), code


@intrinsic
def store(typing, array, at, vector):
    """Sixteen numbers into an array from ``at`` on."""

    def code(context, builder, signature, args):
        _store(context, builder, signature.args[0], *args)
        return context.get_dummy_value()

    return types.none(array, types.intp, VECTOR), code


@intrinsic
def four_products(typing, weights, at, vector, totals):
    """Four vectors, each with ``vector`` times another of four weights from ``at`` on added."""

    def code(context, builder, signature, args):
        weights, at, vector, totals = args
        sums = []
        for i, total in enumerate(cgutils.unpack_tuple(builder, totals, 4)):
            place = builder.add(at, ir.Constant(at.type, i))
            weight = builder.load(_address(context, builder, signature.args[0], weights, place))
            sums.append(_fma(builder, _spread(builder, weight), vector, total))
        return context.make_tuple(builder, FOUR, sums)

    return FOUR(weights, types.intp, VECTOR, FOUR), code


@intrinsic
def add_up(typing, vector):
    """The sum of sixteen numbers, halves first."""

    def code(context, builder, signature, args):
        total, half = args[0], WIDTH // 2
        while half:
            order = [(i + half) % WIDTH for i in range(WIDTH)]
            total = builder.fadd(total, _shuffle(builder, total, total, order))
            half //= 2
        return builder.extract_element(total, ir.Constant(INT, 0))

    return types.float32(VECTOR), code


@intrinsic
def turn(typing, source, at, stride, count, target, places, first, to):
    """A square of 16 x 16 numbers, its rows and columns exchanged, or of the first ``count`` rows.

    Row i is at ``at`` + i * ``stride`` of ``source``; what was column i goes to ``to`` +
    ``places`` [``first`` + i] of ``target``, where no more than ``count`` numbers are written.
    """

    def code(context, builder, signature, args):
        source, at, stride, count, target, places, first, to = args
        last = builder.sub(count, ir.Constant(at.type, 1))
        rows = []
        for i in range(WIDTH):
            number = ir.Constant(at.type, i)
            number = builder.select(builder.icmp_signed("<", number, last), number, last)
            place = builder.add(at, builder.mul(number, stride))
            rows.append(_load(context, builder, signature.args[0], source, place))
        half = WIDTH // 2
        while half:  # exchange the corners of ever smaller squares
            for i in range(WIDTH):
                if not i & half:
                    pair = rows[i], rows[i + half]
                    left = [k if not k & half else WIDTH + k - half for k in range(WIDTH)]
                    right = [k + half if not k & half else WIDTH + k for k in range(WIDTH)]
                    rows[i] = _shuffle(builder, *pair, left)
                    rows[i + half] = _shuffle(builder, *pair, right)
            half //= 2
        bits = ir.VectorType(ir.IntType(1), WIDTH)
        kind = ir.FunctionType(ir.VoidType(), [LLVM, LLVM.as_pointer(), INT, bits])
        name = f"llvm.masked.store.v{WIDTH}f32.p0v{WIDTH}f32"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        numbers = ir.VectorType(INT, WIDTH)
        one = builder.insert_element(
            ir.Constant(numbers, ir.Undefined), builder.trunc(count, INT), ir.Constant(INT, 0)
        )
        most = _shuffle(builder, one, ir.Constant(numbers, ir.Undefined), [0] * WIDTH)
        some = builder.icmp_signed("<", ir.Constant(numbers, list(range(WIDTH))), most)
        for i, row in enumerate(rows):
            which = builder.add(first, ir.Constant(at.type, i))
            place = builder.load(_address(context, builder, signature.args[5], places, which))
            address = _address(context, builder, signature.args[4], target, builder.add(to, place))
            pointer = builder.bitcast(address, LLVM.as_pointer())
            builder.call(function, [row, pointer, ir.Constant(INT, 4), some])
        return context.get_dummy_value()

    place = types.intp
    return types.none(source, place, place, place, target, places, place, place), code


@intrinsic(prefer_literal=True)
def add_vectors(typing, values, places, begin, end, rows, shift, step, sums, at, count):
    """``pooling.add_rows`` for ``count`` vectors, a literal: their sums stay in registers."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    apart = max(1, 4 // count.literal_value)  # sums of one vector would wait for each other

    def code(context, builder, signature, args):
        values, places, begin, end, rows, shift, step, sums, at, _ = args
        kinds, numbers = signature.args, range(count.literal_value)
        totals = [
            [cgutils.alloca_once_value(builder, NOTHING) for _ in numbers] for _ in range(apart)
        ]

        def index(number: int) -> Any:
            return ir.Constant(at.type, number)

        def add(n: Any, into: list[Any]) -> None:
            value = builder.load(_address(context, builder, kinds[0], values, n))
            place = builder.load(_address(context, builder, kinds[1], places, n))
            start = builder.add(builder.sext(place, at.type), shift)
            for v, total in zip(numbers, into, strict=True):
                from_row = builder.add(start, builder.mul(index(v), step))
                row = _load(context, builder, kinds[4], rows, from_row)
                builder.store(
                    _fma(builder, row, _spread(builder, value), builder.load(total)), total
                )

        whole = builder.sub(end, builder.srem(builder.sub(end, begin), index(apart)))
        with cgutils.for_range_slice(builder, begin, whole, index(apart), inc=True) as (n, _):
            for own, into in enumerate(totals):
                add(builder.add(n, index(own)), into)
        with cgutils.for_range_slice(builder, whole, end, index(1), inc=True) as (n, _):
            add(n, totals[0])
        for v in numbers:
            found = builder.load(totals[0][v])
            for other in totals[1:]:
                found = builder.fadd(found, builder.load(other[v]))
            to = builder.add(at, index(v * WIDTH))
            found = builder.fadd(_load(context, builder, kinds[7], sums, to), found)
            _store(context, builder, kinds[7], sums, to, found)
        return context.get_dummy_value()

    given = (values, places, begin, end, rows, shift, step, sums, at, count)
    return types.void(*given), code
