"""The names of all options that ncp.ini has had, of any of NCP's programs, by section."""

from __future__ import annotations

from typing import Final

__all__ = ["NAMES"]

_DEFAULT: Final = """
    use_stderr use_syslog debug loglevel log_dir log_file
    log_rotation_file_max_mb log_rotation_backup_count
    api_log_rotation_file_max_mb api_log_rotation_backup_count
"""
_COE: Final = """
    adaptor cluster loglevel nsxlib_loglevel enable_snat node_type connect_retry_timeout profiling
    metrics_interval metrics_log_file enable_sha
"""
_HA: Final = "master_timeout heartbeat_period update_timeout"
_K8S: Final = """
    apiserver_host_ip apiserver_host_port ca_file client_token_file client_cert_file
    client_private_key_file loglevel ingress_mode http_and_https_ingress_ip http_ingress_port
    https_ingress_port resource_watcher_thread_pool_size enable_vnet_crd enable_lb_crd
    baseline_policy_type max_allowed_endpoints enable_ncp_event lb_connection_multiplexing_enabled
    lb_connection_multiplexing_number lb_ip_allocation enable_restore enable_hostport_snat
    statefulset_ip_range enable_namespace_subnets enable_ncp_setting_crd
"""
_NSX_V3: Final = """
    nsx_api_managers nsx_api_user nsx_api_password insecure ca_file thumbprint nsx_api_cert_file
    nsx_api_private_key_file http_timeout http_read_timeout http_retries concurrent_connections
    conn_idle_timeout redirects retries cluster_unavailable_retry policy_nsxapi top_tier_router
    tier0_router tier0_gateway single_tier_topology overlay_tz edge_cluster failover_mode
    ls_replication_mode search_node_tag_on vif_app_id_type dns_servers subnet_prefix
    v6_subnet_prefix container_ip_blocks no_snat_ip_blocks use_ip_blocks_in_order external_ip_pools
    external_ip_pools_lb ip_reallocation_time sync_realization natfirewallmatch snat_rule_logging
    top_firewall_section_marker bottom_firewall_section_marker top_section_priority
    baseline_section_priority log_dropped_traffic log_firewall_traffic enable_rule_tag
    use_native_loadbalancer default_ingress_class_nsx l4_lb_auto_scaling
    l4_lb_auto_scaling_local_cache lb_service service_size pool_algorithm l4_persistence
    l7_persistence l7_persistence_timeout cookie_name x_forwarded_for lb_default_cert_path
    lb_priv_key_path client_ssl_profile lb_vs_ip_set lb_http_request_header_size
    lb_http_response_header_size lb_http_response_timeout vs_access_log max_allowed_virtual_servers
    ncp_enforced_pool_member_limit members_per_small_lbs members_per_medium_lbs enable_nsx_err_crd
    configure_t0_redistribution deny_subnets_redistribution enable_mixed_expression_groups
"""
_NSX_NODE_AGENT: Final = """
    proc_mount_path_prefix ovs_bridge nsxrpc_loglevel config_retry_timeout config_reuse_backoff_time
    ovs_uplink_port ovs_operation_timeout enable_ipv6 is_dhcp_configured_on_ovs_uplink_port mtu
    waiting_before_cni_response use_ncp_portmap
"""
_NSX_KUBE_PROXY: Final = "ovs_uplink_port config_handler"

NAMES: Final = {
    section: frozenset(names.split())
    for section, names in {
        "DEFAULT": _DEFAULT,
        "coe": _COE,
        "ha": _HA,
        "k8s": _K8S,
        "nsx_v3": _NSX_V3,
        "nsx_node_agent": _NSX_NODE_AGENT,
        "nsx_kube_proxy": _NSX_KUBE_PROXY,
        "vc": "",
    }.items()
}
