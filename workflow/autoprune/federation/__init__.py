"""The federation: one Flower app (ServerApp, ClientApp, Strategy) and the local grid it runs on."""
