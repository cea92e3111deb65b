# Recurrent modules of torch.nn.


class _Recurrent(Module):
    def __init__(self, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
                 bidirectional=False, proj_size=0, nonlinearity="tanh", **options):
        ways = 2 if bidirectional else 1
        self.hidden_size = hidden_size
        self.out_size = proj_size if proj_size else hidden_size
        self.num_layers = num_layers
        self.batch_first = batch_first
        self.nonlinearity = nonlinearity
        self.ways = ways
        self.between = Dropout(dropout) if dropout else None
        self.inputs = tuple(Linear(input_size if i < ways else ways * self.out_size, self.gates * hidden_size, bias)
                            for i in range(ways * num_layers))
        self.states = tuple(Linear(self.out_size, self.gates * hidden_size, bias) for i in range(ways * num_layers))
        self.projections = tuple(Linear(hidden_size, proj_size, False) if proj_size else None
                                 for i in range(ways * num_layers))

    def forward(self, input: "[T, B, C]", hx=None):
        x = swapaxes(input, 0, 1) if self.batch_first and input.ndim == 3 else input
        x = x if input.ndim == 3 else unsqueeze(x, 1)
        last = ()
        for layer in range(self.num_layers):
            ways = ()
            for way in range(self.ways):
                at = layer * self.ways + way
                out, state = self.steps(self.inputs[at](x), at, way == 1, self.first(hx, at, x.shape[1]))
                ways = ways + (out,)
                last = last + (state,)
            x = ways[0] if self.ways == 1 else concatenate(ways, -1)
            if self.between is not None and layer < self.num_layers - 1:
                x = self.between(x)
        out = swapaxes(x, 0, 1) if self.batch_first and input.ndim == 3 else x
        return (out if input.ndim == 3 else x[:, 0]), self.last(last)

    def steps(self, gates, at, backward, state):
        t, b, n = gates.shape
        hidden, cell = state
        out = empty((t, b, self.out_size))
        for i in range(t):
            now = t - 1 - i if backward else i
            hidden, cell = self.step(gates[now], self.states[at](hidden), hidden, cell)
            if self.projections[at] is not None:
                hidden = self.projections[at](hidden)
            out[now] = hidden
        return out, (hidden, cell)

    def first(self, hx, at, b):
        hidden = zeros((b, self.out_size)) if hx is None else hx[at]
        return hidden, None

    def last(self, states):
        return stack(tuple(hidden for hidden, cell in states))


class LSTM(_Recurrent):
    "nn.{}(4, 8)"
    gates = 4

    def step(self, inputs, states, hidden, cell):
        i, f, g, o = chunk(inputs + states, 4, 1)
        new = sigmoid(f) * cell + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(new), new

    def first(self, hx, at, b):
        if hx is None:
            return zeros((b, self.out_size)), zeros((b, self.hidden_size))
        hidden, cell = hx
        return hidden[at], cell[at]

    def last(self, states):
        return stack(tuple(hidden for hidden, cell in states)), stack(tuple(cell for hidden, cell in states))


class GRU(_Recurrent):
    "nn.{}(4, 8)"
    gates = 3

    def step(self, inputs, states, hidden, cell):
        r, z, n = chunk(inputs, 3, 1)
        a, b, c = chunk(states, 3, 1)
        update = sigmoid(z + b)
        new = tanh(n + sigmoid(r + a) * c)
        return (1.0 - update) * new + update * hidden, cell


class RNN(_Recurrent):
    "nn.{}(4, 8)"
    gates = 1

    def step(self, inputs, states, hidden, cell):
        total = inputs + states
        return (relu(total) if self.nonlinearity == "relu" else tanh(total)), cell
