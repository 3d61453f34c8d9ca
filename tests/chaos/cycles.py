"""Cycles among transactions: which one must have come before which (testing.md 7, G0 and G1c)."""


def components(graph):
    """Strongly connected components of more than one node, of {node: [nodes]}; Tarjan's algorithm without recursion, O(nodes + edges)."""
    order, low, on_stack, stack, found, counter = {}, {}, set(), [], [], 0
    for root in graph:
        if root in order:
            continue
        work = [(root, iter(graph[root]))]
        order[root] = low[root] = counter = counter + 1
        stack.append(root)
        on_stack.add(root)
        while work:
            node, following = work[-1]
            for other in following:
                if other not in order:
                    order[other] = low[other] = counter = counter + 1
                    stack.append(other)
                    on_stack.add(other)
                    work.append((other, iter(graph.get(other, ()))))
                    break
                if other in on_stack:
                    low[node] = min(low[node], order[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == order[node]:
                    members = []
                    while not members or members[-1] != node:
                        members.append(stack.pop())
                        on_stack.discard(members[-1])
                    if len(members) > 1:
                        found.append(members)
    return found


def written_then_read(transactions, writer_of):
    """{operation: [operations that read what it wrote]}"""
    graph = {operation: [] for operation in transactions}
    for operation in transactions:
        for step in operation.steps:
            if step[0] != "poll":
                continue
            for key, records in step[1].items():
                for _offset, value in records:
                    writer = writer_of.get(key, {}).get(value)
                    if writer is not None and writer is not operation and writer in graph:
                        graph[writer].append(operation)
    return graph


def written_then_overwritten(transactions, writer_of, order_of):
    """{operation: [operations whose value came next]}; `order_of`: {key: values in the order of the log}."""
    graph = {operation: [] for operation in transactions}
    for key, values in order_of.items():
        writers = [writer_of.get(key, {}).get(value) for value in values]
        for one, two in zip(writers, writers[1:]):
            if one is not two and one in graph and two in graph:
                graph[one].append(two)
    return graph


def process_order(transactions):
    graph, last = {operation: [] for operation in transactions}, {}
    for operation in transactions:
        before = last.get(operation.process)
        if before is not None:
            graph[before].append(operation)
        last[operation.process] = operation
    return graph


def real_time_order(transactions):
    """What ended before another began came before it. A chain of moments between them keeps the number of edges linear."""
    graph = {operation: [] for operation in transactions}
    events = [(operation.started, 1, operation) for operation in transactions]
    events += [(operation.ended, 0, operation) for operation in transactions if operation.ended is not None and operation.kind == "ok"]
    moment = None
    for time, is_start, operation in sorted(events, key=lambda event: event[:2]):
        if is_start:
            if moment is not None:
                graph[moment].append(operation)
        else:
            following = ("moment", time, operation.number)
            graph[following] = []
            if moment is not None:
                graph[moment].append(following)
            graph[operation].append(following)
            moment = following
    return graph


def joined(*graphs):
    result = {}
    for graph in graphs:
        for node, others in graph.items():
            result.setdefault(node, []).extend(others)
    return result


def cycles(graph):
    """Components, moments left out."""
    return [members for members in ([one for one in component if not isinstance(one, tuple)] for component in components(graph)) if len(members) > 1]
